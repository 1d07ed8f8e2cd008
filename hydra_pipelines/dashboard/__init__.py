"""The dashboard: the desk as pages in a browser, with the few actions that are safe there.

`app` puts it together, `routes/` has the pages, `security` says who may do what.
"""
