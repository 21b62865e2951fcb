"""``/api/v1``: the view-models of the pages as JSON, the actions, and the OpenAPI document that describes both."""
