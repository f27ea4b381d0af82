"""Azure: ACR Tasks make the image, the registry keeps it, Container Apps run it."""
