"""Between the browser and the services: gateway, jobs, pipelines, governance, and the wiring of it all."""
