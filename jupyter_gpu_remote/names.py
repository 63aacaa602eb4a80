"""Names for machines: short, easy to read aloud and to tell apart."""

from __future__ import annotations

import random

_HOW = (
    "able agile amber bold brave bright brisk calm clear clever cosy crisp daring deft eager early fair fast "
    "fond free fresh gentle glad golden grand happy hardy honest jolly keen kind light lively lucky merry "
    "mild neat nimble noble patient plucky polite proud quick quiet rapid ready sharp shiny silent silver "
    "smart snug solid spry steady sunny swift tidy trusty vivid warm wise witty young"
)
_WHO = (
    "adder badger beaver bee bison boar bream camel carp cod condor cougar crab crane cricket crow deer "
    "dingo dove duck eagle egret elk emu ermine falcon ferret finch fox frog gecko goose gull hare heron "
    "hornet ibex ibis jackal jay koala lark lemur lion llama lynx magpie marten mole moose moth newt "
    "ocelot orca oriole otter owl panda perch pike plover pony puffin quail rabbit raven robin salmon seal "
    "shrew skunk sloth snipe sparrow stoat stork swan tapir tern tiger toad trout turtle viper vole "
    "walrus wasp wolf wombat wren yak zebra"
)


def new_name(attempt: int = 0) -> str:
    """Return a name such as ``brave-otter``; after a few attempts that were taken, one with a number."""
    name = f"{random.choice(_HOW.split())}-{random.choice(_WHO.split())}"
    return name if attempt < 10 else f"{name}-{random.randrange(10_000)}"
