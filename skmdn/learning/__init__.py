"""How a mixture density network is learned (torch); knows nothing of finished distributions."""
