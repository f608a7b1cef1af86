"""What is decided, pure: values in, values out. Time, prices, health and chance are arguments."""
