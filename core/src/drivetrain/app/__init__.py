"""What an application uses: the app, its tasks, results and settings, and how its drivers are found."""
