"""The official SDKs as clients, in an environment of their own: nothing but their base URL and key is changed."""
