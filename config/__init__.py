"""How the parts are wired."""
