"""What models cost: the lists, one's own prices, which data is in force, and a second opinion."""
