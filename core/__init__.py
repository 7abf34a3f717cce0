"""finetui without its screen: everything the app can do, callable from a script."""
