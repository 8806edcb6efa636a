"""Interactions of files and frames; imports no RecBole."""
