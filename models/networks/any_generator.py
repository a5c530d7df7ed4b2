"""A generator of any model."""

from models.networks.generator import Generator
from models.networks.stylegan2 import StyleGenerator

AnyGenerator = Generator | StyleGenerator
