"""``python -m uprez``"""

from uprez.cli.main import run

run()
