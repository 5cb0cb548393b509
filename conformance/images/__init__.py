"""Images that the kit sends, and how it compares those that it gets back."""
