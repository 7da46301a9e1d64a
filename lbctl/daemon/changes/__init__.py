"""Texts of the operator: planned, put in force and verified, remembered, taken back."""
