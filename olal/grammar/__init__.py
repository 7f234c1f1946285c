"""Grammars: from types, schemas and patterns to legal tokens."""

from olal.grammar.action_grammar import ActionGrammar
from olal.grammar.build import choice_grammar, json_grammar, lark_grammar, regex_grammar
from olal.grammar.ending import Ending, find_ending
from olal.grammar.json_path import DecisionTracker, JsonPath, is_decision
from olal.grammar.legal_sets import GrammarState
from olal.grammar.matcher import Vocabulary
from olal.grammar.python_types import type_grammar
from olal.grammar.tools import ToolCall, parse_tool_calls, tool_grammar
from olal.grammar.union import union_grammar

__all__ = [
    "ActionGrammar",
    "DecisionTracker",
    "Ending",
    "GrammarState",
    "JsonPath",
    "ToolCall",
    "Vocabulary",
    "choice_grammar",
    "find_ending",
    "is_decision",
    "json_grammar",
    "lark_grammar",
    "parse_tool_calls",
    "regex_grammar",
    "tool_grammar",
    "type_grammar",
    "union_grammar",
]
