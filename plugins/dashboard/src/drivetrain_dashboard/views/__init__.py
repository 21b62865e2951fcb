"""The view-models of the pages: immutable values, and what fills them from an app.

One module for each page. A view-model knows nothing of HTTP or HTML. The pages, the JSON of ``/api/v1`` and its OpenAPI
document are made from the same view-models.
"""
