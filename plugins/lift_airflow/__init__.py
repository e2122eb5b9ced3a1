"""What Airflow must import itself: the bucket trigger and the task decorator."""
