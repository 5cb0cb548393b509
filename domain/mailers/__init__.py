"""Ways in which a mail leaves the house."""
