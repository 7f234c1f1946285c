"""Grammars: from types, schemas and patterns to legal tokens."""

from olal.grammar.action_grammar import ActionGrammar
from olal.grammar.build import choice_grammar, json_grammar, lark_grammar, regex_grammar, type_grammar
from olal.grammar.matcher import GrammarState, Vocabulary

__all__ = [
    "ActionGrammar",
    "GrammarState",
    "Vocabulary",
    "choice_grammar",
    "json_grammar",
    "lark_grammar",
    "regex_grammar",
    "type_grammar",
]
