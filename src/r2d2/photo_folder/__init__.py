"""A folder of pictures as a table that can be searched, brought up to date on every start."""
