"""A context's folder: every path in it, and nothing outside of it.

names       what a path may look like
folder      the folder, opened once; what can be done below it, with its limits
handle      an open file, and a file that replaces another when it is whole
tree        walking, deleting and copying whole folders by descriptors
"""

from __future__ import annotations
