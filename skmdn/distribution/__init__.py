"""What a finished conditional distribution is (NumPy, float64); knows nothing of learning."""
