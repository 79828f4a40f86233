"""Mixture density networks for scikit-learn."""
