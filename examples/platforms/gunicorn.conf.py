"""gunicorn for a web application that sends tasks: ``gunicorn --config gunicorn.conf.py web:web``."""

# The app is made once, before the fork. Each process opens its own connections at its first use.
preload_app = True
workers = 4
worker_class = "uvicorn.workers.UvicornWorker"
