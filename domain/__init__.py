"""The domain of the service, without HTTP: accounts, tokens, plans, quota, images and the states of their jobs."""
