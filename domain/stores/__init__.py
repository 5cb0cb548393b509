"""Object stores: where the pictures lie."""
