"""The whole road from outside: one `up`, real servers, real HTTP. One file a promise."""
