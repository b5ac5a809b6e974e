"""The published few-shot forms as templates of conversations, in which a user asks and the assistant answers."""

from spiritlm_pl.benchmarks.few_shot.template import FIELD, ShotTemplate, load_shot_template
from spiritlm_pl.conversations.template import LEARNT, ConversationTemplate, Side
from spiritlm_pl.vocabulary import Modality

ANSWERS = {"asr": "text", "tts": "audio", "intent": "label"}
NAMES = {"intent": "intents"}  # of the published forms, where they differ from those of the tasks


def published_template(task: str) -> ConversationTemplate:
    """Return the published form of a task: asr, tts or intent."""
    return as_conversation(load_shot_template(NAMES.get(task, task), ANSWERS[task]))


def as_conversation(template: ShotTemplate) -> ConversationTemplate:
    """Return a form of few-shot prompts as a template of conversations.

    Its question is the user's turn. Its answer, with the texts around it, is the assistant's, which ends with the end
    token; a word that is spoken to end answers is left out, as the end token takes its place.
    """
    texts = ["", ""]  # before and after what is asked
    seen = 0
    for modality, parts in template.query:
        for part in parts:
            if FIELD.fullmatch(part) and part != "{stop}":
                seen = 1
            elif modality is Modality.TEXT:
                texts[seen] += part.replace("{stop}", template.stop)
    asked = Side(before=texts[0].strip(), after=texts[1].strip())
    answer = Side(before=template.before, after=template.after, ends=True, given=False)
    return ConversationTemplate({"user": asked, LEARNT: answer})
