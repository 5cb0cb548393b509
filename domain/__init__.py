"""The rules of the service: accounts, tokens, plans, quota, images and the states of their jobs."""
