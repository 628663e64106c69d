"""The services: data, model, explanation and xui, each in a package that imports only contracts and the kit."""
