"""What is done. REACTIONS is the whole nervous system on one screen: which command or event wakes which handler."""
