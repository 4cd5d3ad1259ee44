"""The plots of a study's page. One colour and one name for each test, one axis of p for all of them."""
