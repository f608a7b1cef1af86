"""Everything that an account holds, put into one file for it: asked for, made by a projector, fetched for some days.

`orders` is what the door asks for, `making` writes the file, `page` its part for people, `keeper` the projector's task.
"""
