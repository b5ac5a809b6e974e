"""The template of conversations in the form that `apply_chat_template` of `transformers` and servers read (Jinja).

The content of a message is a text, or a list of parts `{"type": "text", "text": ...}` and `{"type": "speech", "tokens":
"[Hu3][Hu7]"}`. The ids are those of `spiritlm_pl.conversations.rendering`; codebooks with delays are not put in steps.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from spiritlm_pl.conversations.template import LEARNT, RECORDS, ConversationTemplate
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

# `ns.last` is the modality of what a turn has so far, and `ns.out` what is written of it.
_PROGRAM = """\
{%- set sides = <<SIDES>> -%}
{%- set opened = <<OPENED>> -%}
{%- set changed = <<CHANGED>> -%}
{%- macro written(text, last) -%}
{%- if text | trim -%}
{%- if last == 'text' -%}{{ ' ' + text | trim }}
{%- elif last == 'speech' -%}{{ changed['text'] + <<AFTER_SPEECH>> + text | trim }}
{%- else -%}{{ opened['text'] + text | trim }}
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
{{- <<START>> -}}
{%- for message in messages -%}
{%- if message['role'] not in sides -%}
{{- raise_exception('role must be one of ' + sides | join(', ') + ', but is ' + message['role']) -}}
{%- endif -%}
{%- set side = sides[message['role']] -%}
{%- set content = message['content'] -%}
{%- set parts = [{'type': 'text', 'text': content}] if content is string else content -%}
{%- set ns = namespace(last='', out='') -%}
{%- for part in [{'type': 'text', 'text': side['before']}] + parts + [{'type': 'text', 'text': side['after']}] -%}
{%- if part['type'] == 'speech' -%}
{%- if ns.last != 'speech' -%}
{%- set ns.out = ns.out + (changed if ns.last else opened)['speech'] -%}
{%- endif -%}
{%- set ns.out = ns.out + part['tokens'] | trim -%}
{%- set ns.last = 'speech' -%}
{%- elif part['text'] | trim -%}
{%- set ns.out = ns.out + written(part['text'], ns.last) -%}
{%- set ns.last = 'text' -%}
{%- endif -%}
{%- endfor -%}
{{- ns.out -}}
{%- if side['ends'] -%}{{- <<END>> -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- <<PROMPT>> -}}{%- endif -%}
"""


def chat_template(template: ConversationTemplate, tokenizer: TextTokenizer, vocabulary: Vocabulary) -> str:
    """Return the Jinja program of a template.

    Args:
        template: how turns are written.
        tokenizer: text tokenizer of the language model.
        vocabulary: layout of the token ids, with a token that ends documents.
    """
    assert vocabulary.end_of_document is not None
    sides = {
        name: {"before": side.before, "after": side.after, "ends": side.ends} for name, side in template.roles.items()
    }
    names = {"text": Modality.TEXT, "speech": Modality.SPEECH}
    opened = {name: "".join(_name(token, vocabulary) for token in vocabulary.opened(m)) for name, m in names.items()}
    changed = {name: _name(vocabulary.change_marker(modality), vocabulary) for name, modality in names.items()}
    answer = template.side(LEARNT)
    header = opened["text"] + answer.before if answer.before and answer.given else ""
    follows = tokenizer.encode("a", continuing=True) != tokenizer.encode("a")
    values = {
        "SIDES": json.dumps(sides).replace("true", "True").replace("false", "False"),
        "OPENED": json.dumps(opened),
        "CHANGED": json.dumps(changed),
        "AFTER_SPEECH": json.dumps(" " if follows else ""),
        "START": "bos_token" if vocabulary.opening else "''",
        "END": "eos_token",
        "PROMPT": json.dumps(header),
    }
    return re.sub(r"<<(\w+)>>", lambda match: values[match[1]], _PROGRAM)


def chat_templates(
    templates: Mapping[str, Any], tokenizer: TextTokenizer, vocabulary: Vocabulary
) -> str | dict[str, str]:
    """Return the Jinja programs of the templates that a model was tuned on.

    Args:
        templates: templates by the names of their tasks, as `ConversationTemplate.to_dict` gives them.
        tokenizer: text tokenizer of the language model.
        vocabulary: layout of the token ids.

    Returns:
        The program where there is one; else programs by name, of which `default` is that of conversations, or else of
        the first task.
    """
    programs = {
        name: chat_template(ConversationTemplate.from_dict(values), tokenizer, vocabulary)
        for name, values in templates.items()
    }
    first = programs.get(RECORDS, next(iter(programs.values())))
    return first if len(programs) == 1 else {"default": first, **programs}


def _name(token: int, vocabulary: Vocabulary) -> str:
    return vocabulary.name(token) or ""
