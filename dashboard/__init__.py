"""What people see: pages, API and exports."""
