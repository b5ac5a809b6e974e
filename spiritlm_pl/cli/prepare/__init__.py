"""`spiritlm prepare KIND OUT ...`: make a corpus folder."""

from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest, lhotse_recipe, lhotse_recipes
from spiritlm_pl.cli.prepare.published import amazon_queen, debian_prompts, emov_db, expresso
from spiritlm_pl.cli.prepare.synthetic import stories, styles, text

__all__ = [
    "COMMANDS",
    "amazon_queen",
    "debian_prompts",
    "emov_db",
    "expresso",
    "folder",
    "lhotse_manifest",
    "lhotse_recipe",
    "lhotse_recipes",
    "stories",
    "styles",
    "text",
]

COMMANDS = {
    "debian_prompts": debian_prompts,
    "amazon_queen": amazon_queen,
    "expresso": expresso,
    "emov_db": emov_db,
    "stories": stories,
    "styles": styles,
    "text": text,
    "folder": folder,
    "lhotse_recipe": lhotse_recipe,
    "lhotse_recipes": lhotse_recipes,
    "lhotse_manifest": lhotse_manifest,
}
