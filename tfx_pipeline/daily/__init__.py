"""Day after day: what the run of a day goes on from, and what it leaves to later ones."""
