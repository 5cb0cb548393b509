"""HTTP API: Connexion routes the contract to thin operation functions."""

import warnings

# Connexion imports Starlette's test client, which warns about its HTTP library. The server does not use it.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
# Connexion imports these deprecated names for references to other files. The contract has none.
warnings.filterwarnings(
    "ignore", message=r"jsonschema\.(RefResolver|exceptions\.RefResolutionError) is deprecated"
)
