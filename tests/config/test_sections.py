"""What every section promises: frozen, and every field explained."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import olal.config
from olal.config import RunConfig
from olal.config.base import Section

SECTIONS = [kind for name in olal.config.__all__ if isinstance(kind := getattr(olal.config, name), type)]


def test_all_sections_are_found():
    assert len(SECTIONS) == 28
    assert all(issubclass(section, Section) for section in SECTIONS)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_is_explained_in_one_line(section):
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name} has no docstring"
        assert "\n" not in field.description


def test_sections_are_frozen():
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.rollout.workers = 3


def test_there_are_few_enough_settings_to_read():
    text = olal.config.to_yaml(RunConfig())
    assert text.count("\n") < 100
