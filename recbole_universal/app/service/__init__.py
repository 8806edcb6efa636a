"""The HTTP service: lists, reasons and new interactions of saved recommenders."""
