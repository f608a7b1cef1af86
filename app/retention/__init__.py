"""What has been kept long enough: found once a day for each account, told as a fact, forgotten by the read models."""
