"""What can be searched: `protocol`, and the galleries of a `table`, of `memory`, of the `emoji`.

`conditions` filters the rows of a gallery; `notes` warns where a model does not suit a gallery.
"""
