mod live_link;
