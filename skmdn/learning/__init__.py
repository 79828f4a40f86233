"""How a mixture density network is learned; knows nothing of finished distributions."""
