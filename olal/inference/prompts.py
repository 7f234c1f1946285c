"""From chat messages to prompt tokens, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from olal.types import Message


def encode_messages(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Prompt tokens by the model's chat template; without one, the contents joined by line breaks.

    Args:
        tokenizer: a transformers tokenizer.
        messages: the chat so far.
    """
    if getattr(tokenizer, "chat_template", None):
        return tuple(tokenizer.encode(_render(tokenizer, messages), add_special_tokens=False))
    return tuple(tokenizer.encode("\n".join(message.content for message in messages) + "\n"))


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The chat template's text; where it knows no system role, the instructions go before the first message."""
    chat = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        if len(chat) < 2 or chat[0]["role"] != "system":
            raise
        first = {"role": chat[1]["role"], "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}
        return tokenizer.apply_chat_template([first, *chat[2:]], tokenize=False, add_generation_prompt=True)
