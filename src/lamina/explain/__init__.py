"""What a model looked at, and how faithful that picture is."""
