"""The ASGI application: pages, forms, live updates, and what protects them."""
