"""What keeps the log bounded and whole: trimming, shedding, and noticing what is lost."""
