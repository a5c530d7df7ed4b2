"""From MLflow's records to tables; imports neither torch nor the code that trained."""
