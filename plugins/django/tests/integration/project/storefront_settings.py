"""The settings of the example project. A variable says where its files are."""

import os
from pathlib import Path

HOME = Path(os.environ.get("STOREFRONT_HOME", "."))

SECRET_KEY = "only an example"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "storefront_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_tasks",
    "drivetrain_django",
    "storefront",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HOME / "storefront.db", "CONN_MAX_AGE": 0}}

DRIVETRAIN = {
    "BROKER": f"sqlite:///{HOME}/queue.db",
    "NAME": "storefront",
    "ROUTES": {"storefront.tasks.slow_*": "slow"},
    "DASHBOARD_URL": "https://dashboard.example.org/",
}
TASKS = {
    "default": {
        "BACKEND": "drivetrain_django.tasks_backend.DrivetrainBackend",
        "QUEUES": ["default", "mails"],
    },
    "on_commit": {
        "BACKEND": "drivetrain_django.tasks_backend.DrivetrainBackend",
        "OPTIONS": {"ON_COMMIT": True},
    },
}
