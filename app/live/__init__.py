"""What is said while a request runs: a worker speaks, web processes listen. Nothing here is the truth; the event is."""
