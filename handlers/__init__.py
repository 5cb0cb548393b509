"""HTTP: the contract routed by Connexion to thin handlers, every answer in the envelope."""

import warnings

# Connexion imports Starlette's test client, which complains of its HTTP library; no server uses it.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
# It also imports these old names, for references to other files; the contract has none.
warnings.filterwarnings(
    "ignore", message=r"jsonschema\.(RefResolver|exceptions\.RefResolutionError) is deprecated"
)
